/* A client of mpx for C: one phase after another, with acknowledged results. It outlives managers.

       mpx_start();
       const char *parameters;
       while ((parameters = mpx_next()) != NULL) {
           double x = 0;
           json_number(parameters, "x", &x);
           ...
           mpx_final("0.5");
       }

   Where going on makes no sense (there is no manager, and none comes) a function ends the process, with
   exit status 1 and the reason on stderr. */
#ifndef MPX_H
#define MPX_H

#include <stdbool.h>

/* Say hello. From now on stdin is empty and stdout is the trial's log, for children too. */
void mpx_start(void);

/* Ask for a phase. Return its parameters, JSON that stays until the next call; NULL: there are no more. */
const char *mpx_next(void);

/* Report an intermediate result, any JSON. Return whether the assessor has stopped the phase: then leave
   it, with a final result or without. */
bool mpx_intermediate(const char *value);

/* Report the final result, any JSON; it is on disk when this returns. Return false, with the reason on
   stderr, if it was not accepted: one that cannot be sent ends the phase as FAILED. */
bool mpx_final(const char *value);

/* End the phase as FAILED, with a reason. */
void mpx_failed(const char *type, const char *message);

#endif
