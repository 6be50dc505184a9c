/* One trial: a plate is heated and cools, phase after phase, and each phase tries another omega.

       trial SIZE

   A flame goes round under a square plate with cold edges. A time step is one of the flame's 8 places; it
   solves (implicit Euler, the heat equation)

       (1 + 4 r) u = u_before + r (sum of u's four neighbours) + flame,     r = dt / h^2,

   in all SIZE x SIZE cells by successive over-relaxation with the factor omega, beginning with u_before.
   A phase is one turn of the flame; its result is how many sweeps over the plate a time step took, on
   average. plate.awk and trial.py add up in the same order, so that their results are the same. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "mpx.h"

enum { STEPS = 8, MOST_SWEEPS = 2000 };

static const double R = 50, TOLERANCE = 1e-8;
static const int PLACES[STEPS][2] = {
    {1, 1}, {1, 2}, {1, 3}, {2, 3}, {3, 3}, {3, 2}, {3, 1}, {2, 1}, /* quarters of the plate */
};

static int size, width;          /* cells in a row, without the edges and with them */
static size_t bytes;             /* of a plate */
static double *u, *heat, *saved; /* the plate; the right-hand side; the plate when the phase began */

static double *cells(void)
{
    double *zeroed = calloc(1, bytes);
    if (zeroed == NULL)
        exit(1);
    return zeroed;
}

/* Improve every cell once; return by how much the worst one was off. */
static double sweep(double omega, bool red_black)
{
    double worst = 0;
    int colours = red_black ? 2 : 1;
    for (int colour = 0; colour < colours; colour++)
        for (int row = 1; row <= size; row++)
            for (int column = 1 + (row + colour) % colours; column <= size; column += colours) {
                int at = row * width + column;
                double sum = u[at - width] + u[at - 1] + u[at + 1] + u[at + width];
                double off = (heat[at] + R * sum) / (1 + 4 * R) - u[at];
                u[at] += omega * off;
                if (off < 0)
                    off = -off;
                if (off > worst)
                    worst = off;
            }
    return worst;
}

/* Compute a time step; return the sweeps it took, one more than MOST_SWEEPS if it found no end. */
static int step(int number, double omega, bool red_black)
{
    int quarter = (size + 1) / 4;
    memcpy(heat, u, bytes);
    heat[PLACES[number][0] * quarter * width + PLACES[number][1] * quarter] += 1;
    int sweeps = 1;
    while (sweep(omega, red_black) > TOLERANCE && sweeps <= MOST_SWEEPS)
        sweeps++;
    return sweeps;
}

/* Compute a turn of the flame and report it. Return NULL, or why there is no result. */
static const char *turn(double omega, bool red_black)
{
    char text[JSON_NUMBER], value[128];
    int sweeps = 0;
    for (int number = 0; number < STEPS; number++) {
        int more = step(number, omega, red_black);
        if (more > MOST_SWEEPS)
            return "too many sweeps";
        sweeps += more;
        if (mpx_intermediate(json_from_number(text, more)))
            return "stopped";
    }
    double centre = u[(size + 1) / 2 * (width + 1)];
    snprintf(value, sizeof value, "{\"default\":%.17g,\"centre\":%.17g}", (double)sweeps / STEPS, centre);
    mpx_final(value);
    return NULL;
}

/* Work on one phase. If it has no result the plate is what it was before. */
static void work(const char *parameters)
{
    double omega;
    char order[16];
    const char *reason;
    bool found = json_number(parameters, "omega", &omega) &&
                 json_string(parameters, "order", order, sizeof order);
    bool red_black = found && strcmp(order, "red_black") == 0;
    bool lexicographic = found && strcmp(order, "lexicographic") == 0;
    if (!(red_black || lexicographic) || !(omega > 0 && omega < 2))
        reason = "omega must be between 0 and 2, and order lexicographic or red_black";
    else {
        printf("omega %g, %s\n", omega, order); /* is text, and goes to the trial's log */
        memcpy(saved, u, bytes);
        reason = turn(omega, red_black);
        if (reason != NULL)
            memcpy(u, saved, bytes);
    }
    if (reason != NULL)
        mpx_failed(strcmp(reason, "stopped") == 0 ? "PhaseStopped" : "ValueError", reason);
}

int main(int count, char **arguments)
{
    size = count == 2 ? atoi(arguments[1]) : 0;
    if (size < 3 || size > 4095 || size % 4 != 3) {
        fprintf(stderr, "usage: trial SIZE, which is 3, 7, 11 ...\n");
        return 2;
    }
    width = size + 2;
    bytes = (size_t)width * (size_t)width * sizeof *u;
    u = cells(), heat = cells(), saved = cells();

    mpx_start();
    const char *parameters;
    while ((parameters = mpx_next()) != NULL)
        work(parameters);
    return 0;
}
