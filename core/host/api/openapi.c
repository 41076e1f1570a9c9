/* SPDX-License-Identifier: MIT */
#include "host/api/doors.h"

/* The file is part of the program, so that a host describes exactly the routes that it was built with. */
__asm__(".pushsection .rodata\n"
        "peri__openapi_begin: .incbin \"" PERI_OPENAPI_FILE "\"\n"
        "peri__openapi_end: .byte 0\n"
        ".popsection\n");

extern const char peri__openapi_begin[], peri__openapi_end[];

struct peri_str peri_openapi(void)
{
    /* cppcheck-suppress comparePointers ; two ends of one text, which the assembler lays out */
    return (struct peri_str){ peri__openapi_begin, (size_t)(peri__openapi_end - peri__openapi_begin) };
}
