/* SPDX-License-Identifier: MIT */
#ifndef BASE_JSON_LOCALE_H
#define BASE_JSON_LOCALE_H

#include <locale.h>

/* The C locale: JSON has a point whatever the process's language is. Lives as long as the process. */
locale_t peri__json_locale(void);

#endif
