/* SPDX-License-Identifier: MIT */
#ifndef CORE_BASE_DATA_DIR_H
#define CORE_BASE_DATA_DIR_H

/* Where a host keeps its data and where its clients look for the credentials, when nothing else is said: PERILUNE_DATA,
 * else perilune below XDG_DATA_HOME (an absolute one), else ~/.local/share/perilune. Owned by the caller; NULL: out of
 * memory. */
char *peri__data_dir(void);

#endif
