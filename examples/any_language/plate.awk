# One turn of the flame under a plate (trial.c says which), by successive over-relaxation.
#
#     file=PLATE awk -v size=23 -v omega=1.7 -v order=red_black -f plate.awk
#
# Reads the plate from the file, if there is one, and writes it anew. Prints lines for trial.sh:
# `intermediate` and the sweeps of a time step, `final` and a result, or `failed` and a reason.

function give_up(reason) {
    print "failed " reason
    exit
}

function sweep(    worst, colours, colour, row, column, at, sum, off) {
    worst = 0
    colours = order == "red_black" ? 2 : 1
    for (colour = 0; colour < colours; colour++)
        for (row = 1; row <= size; row++)
            for (column = 1 + (row + colour) % colours; column <= size; column += colours) {
                at = row * width + column
                sum = u[at - width] + u[at - 1] + u[at + 1] + u[at + width]
                off = (heat[at] + r * sum) / (1 + 4 * r) - u[at]
                u[at] += omega * off
                if (off < 0)
                    off = -off
                if (off > worst)
                    worst = off
            }
    return worst
}

function step(place,    at, sweeps) {
    for (at = 0; at < width * width; at++)
        heat[at] = u[at]
    heat[substr(place, 1, 1) * quarter * width + substr(place, 2, 1) * quarter] += 1
    for (sweeps = 1; sweep() > 1e-8; sweeps++)
        if (sweeps == 2000)
            give_up("too many sweeps")
    return sweeps
}

BEGIN {
    if (!(omega > 0 && omega < 2))
        give_up("omega must be between 0 and 2")
    file = ENVIRON["file"] # as -v would read backslashes in it
    r = 50
    width = size + 2
    quarter = (size + 1) / 4
    for (at = 0; at < width * width; at++)
        u[at] = (getline cell < file) > 0 ? cell + 0 : 0
    close(file)

    steps = split("11 12 13 23 33 32 31 21", places, " ")
    for (number = 1; number <= steps; number++) {
        sweeps = step(places[number])
        print "intermediate", sweeps
        fflush()
        total += sweeps
    }

    for (at = 0; at < width * width; at++)
        printf "%.17g\n", u[at] > file
    if (close(file) != 0)
        give_up("cannot write " file)
    centre = u[(size + 1) / 2 * (width + 1)]
    printf "final {\"default\":%.17g,\"centre\":%.17g}\n", total / steps, centre
}
