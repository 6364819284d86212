/*
 * The test program's own symbol table: kernels' names for messages, and the
 * static shared memory, which is every thread-local variable of a function
 * (CU_SHARED): where it lies and how long it is, so that it can be poisoned
 * before each block and addresses can be told apart.
 *
 * Loaded once, under the device's lock; a stripped program has no names and
 * no poison, nothing else changes.
 */

#include <algorithm>
#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "t/cuda/emu.h"

typedef struct {
    uintptr_t   at;
    const char *name; /* in the mapped file */
} emu_code_t;

static struct {
    int                       loaded;
    const uint8_t            *file;
    size_t                    size;
    uintptr_t                 base;
    std::vector<emu_code_t>   code;
    std::vector<emu_static_t> statics;
    std::vector<const char *> names;
    std::string               text;
} sym;


static int
emu_first_module(struct dl_phdr_info *info, size_t, void *data)
{
    *(struct dl_phdr_info *) data = *info;
    return 1;
}


static void
emu_symbols_section(const Elf64_Sym *s, size_t n, const char *strings)
{
    for (size_t i = 0; i < n; i++) {
        const char *name = strings + s[i].st_name;
        int         type = ELF64_ST_TYPE(s[i].st_info);

        if (type == STT_FUNC && s[i].st_shndx != SHN_UNDEF) {
            sym.code.push_back({(uintptr_t) s[i].st_value, name});
        }

        /* A function's own variable; C has no such names. */
        if (type == STT_TLS && strncmp(name, "_ZZ", 3) == 0) {
            sym.statics.push_back(
                {(size_t) s[i].st_value, (size_t) s[i].st_size, (uint32_t) sym.names.size()});
            sym.names.push_back(name);
        }
    }
}


void
emu_symbols_load()
{
    struct dl_phdr_info info;
    struct stat         st;
    const Elf64_Ehdr   *eh;
    const Elf64_Shdr   *sh;
    void               *p;
    int                 fd;

    if (sym.loaded) {
        return;
    }

    sym.loaded = 1;
    dl_iterate_phdr(emu_first_module, &info);
    sym.base = (uintptr_t) info.dlpi_addr;

    fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        return;
    }

    p = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED) {
        return;
    }

    sym.file = (const uint8_t *) p;
    sym.size = (size_t) st.st_size;
    eh = (const Elf64_Ehdr *) sym.file;
    sh = (const Elf64_Shdr *) (sym.file + eh->e_shoff);

    for (int i = 0; i < eh->e_shnum; i++) {
        if (sh[i].sh_type == SHT_SYMTAB) {
            emu_symbols_section((const Elf64_Sym *) (sym.file + sh[i].sh_offset),
                                sh[i].sh_size / sizeof(Elf64_Sym),
                                (const char *) (sym.file + sh[sh[i].sh_link].sh_offset));
        }
    }

    std::sort(sym.code.begin(), sym.code.end(),
              [](const emu_code_t &a, const emu_code_t &b) { return a.at < b.at; });
}


uint32_t
emu_statics(const emu_static_t **s)
{
    *s = sym.statics.data();
    return (uint32_t) sym.statics.size();
}


uint8_t *
emu_statics_base()
{
    struct dl_phdr_info info;

    info.dlpi_tls_data = NULL;
    dl_iterate_phdr(emu_first_module, &info);
    return (uint8_t *) info.dlpi_tls_data;
}


static const char *
emu_mangled(const void *code)
{
    uintptr_t  at = (uintptr_t) code - sym.base;
    emu_code_t key = {at, NULL};
    auto       it =
        std::upper_bound(sym.code.begin(), sym.code.end(), key,
                         [](const emu_code_t &a, const emu_code_t &b) { return a.at < b.at; });

    if (it == sym.code.begin()) {
        return NULL;
    }

    return (it - 1)->name;
}


/* A kernel _Zfoo has variables _ZZfooE3bar. */
size_t
emu_static_size(const void *kernel)
{
    const char *name = emu_mangled(kernel);
    size_t      sum = 0;

    if (name == NULL || strncmp(name, "_Z", 2) != 0) {
        return 0;
    }

    std::string prefix = std::string("_ZZ") + (name + 2) + "E";

    for (const emu_static_t &s : sym.statics) {
        if (strncmp(sym.names[s.name], prefix.c_str(), prefix.size()) == 0) {
            sum += s.size;
        }
    }

    return sum;
}


static const char *
emu_demangle(const char *name)
{
    char *s;
    int   rc;

    if (name == NULL) {
        return "?";
    }

    s = abi::__cxa_demangle(name, NULL, NULL, &rc);
    sym.text = s ? s : name;
    free(s);
    return sym.text.c_str();
}


const char *
emu_symbol(const void *code)
{
    return emu_demangle(emu_mangled(code));
}


const char *
emu_static_name(uint32_t name)
{
    return emu_demangle(sym.names[name]);
}
