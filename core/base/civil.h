/* SPDX-License-Identifier: MIT */
#ifndef BASE_CIVIL_H
#define BASE_CIVIL_H

#include <stdint.h>

/* Days since 1970-01-01 in the proleptic Gregorian calendar, and back; months from 1, days from 1. */
int64_t peri__days_from_civil(int64_t year, int month, int day);
void peri__civil_from_days(int64_t days, int64_t *year, int *month, int *day);
int peri__days_in_month(int64_t year, int month);
/* 0 is Sunday. */
int peri__weekday(int64_t days);

#endif
