/* SPDX-License-Identifier: MIT */
#include "base/data_dir.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *peri__data_dir(void)
{
    char *path = NULL;
    const char *given = getenv("PERILUNE_DATA");
    if (given && given[0])
        return strdup(given);
    const char *data = getenv("XDG_DATA_HOME");
    if (data && data[0] == '/')
        return asprintf(&path, "%s/perilune", data) < 0 ? NULL : path;
    const char *home = getenv("HOME");
    const struct passwd *user = home && home[0] ? NULL : getpwuid(getuid());
    if (user)
        home = user->pw_dir;
    return asprintf(&path, "%s/.local/share/perilune", home && home[0] ? home : "") < 0 ? NULL : path;
}
