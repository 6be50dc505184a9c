#!/usr/bin/env bash
# One trial: what trial.c says, with a plate that is kept in a file and worked on by awk.
#
#     bash trial.sh SIZE
#
# The least that a trial must do is to ask, to read and to report: this one says no hello, and gets no
# acks. It needs bash (3.2 will do) and any awk, and no program that reads JSON: see `take`.

set -o pipefail
export LC_ALL=C # a decimal point is a point
plate=${MPX_OUTPUT_DIR:?is not set: mpx starts this, by \`mpx create bash.yml\`}/plate
exec 3<&0 4>&1 </dev/null >>"$MPX_TRIAL_DIR/trial.log" # children may print, and read

say() { printf '\n@mpx %s\n' "$1" >&4; }

fail() { # with a reason, without quotes and backslashes
    say "{\"type\":\"failed\",\"error\":{\"type\":\"ValueError\",\"message\":\"$1\",\"traceback\":\"\"}}"
}

hear() { # parameters, or that there are none
    while IFS= read -r line <&3; do
        case $line in
        '{"type":"parameters",'*) parameters=${line#*',"parameters":'} && return 0 ;;
        '{"type":"no_more",'*) return 1 ;;
        '{"type":"error",'*) break ;;
        esac
    done
    echo "the manager is gone, or does not understand: $line" >&2
    exit 1
}

# Set the variable of a parameter's name to its value, if that matches a pattern. In the manager's JSON a "
# inside a string has a backslash before it, so ,"omega": or {"omega": can be nothing but that name.
take() { # name, pattern
    local member="[{,]\"$1\":($2)[,}]"
    [[ $parameters =~ $member ]] && printf -v "$1" %s "${BASH_REMATCH[1]}"
}

turn() { # of the flame, on a copy of the plate
    rm -f "$plate.next"
    if [ -e "$plate" ]; then cp "$plate" "$plate.next" || return; fi
    file=$plate.next awk -v size="$size" -v omega="$omega" -v order="$order" -f plate.awk |
        while read -r kind value; do
            case $kind in
            intermediate) say "{\"type\":\"intermediate\",\"value\":$value}" ;;
            final) mv "$plate.next" "$plate" && say "{\"type\":\"final\",\"value\":$value}" ;;
            failed) fail "$value" ;;
            esac
        done
}

size=$1
omega='' order=''
number='-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?'
while say '{"type":"request"}' && hear; do
    if ! take omega "$number" || ! take order '"(lexicographic|red_black)"'; then
        fail 'omega must be a number, and order lexicographic or red_black'
        continue
    fi
    order=${order//\"/}
    echo "omega $omega, $order" # is text, and goes to the trial's log
    turn || fail 'the computation died: see the log of the trial'
done
