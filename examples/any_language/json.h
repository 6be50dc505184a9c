/* JSON as it lies in a text: a little to read it, and a little to write it. Nothing is allocated.

   NaN, Infinity and -Infinity are numbers. What is read must be whole and in UTF-8. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

enum { JSON_NUMBER = 32 };

/* Return what is behind a value, or NULL: there is none, or it is not valid. */
const char *json_end(const char *value);

/* Return where an object has the value of a member, or NULL: there is none, or this is no valid object. */
const char *json_member(const char *object, const char *name);

/* Set *number to a member that is a number. Return false if it is none. */
bool json_number(const char *object, const char *name, double *number);

/* Copy a member that is a string into text, which has room for size bytes with the 0 at the end. Return
   false if it is none, or too long, or has a 0 in it. Half a surrogate pair becomes U+FFFD. */
bool json_string(const char *object, const char *name, char *text, size_t size);

/* Write a number into text, which has room for JSON_NUMBER bytes, and return that. No digit is lost. */
char *json_from_number(char *text, double number);

/* Write a string into text, which has room for six times its length and three bytes, and return that.
   What is not UTF-8 becomes question marks. */
char *json_from_string(char *text, const char *string);

#endif
