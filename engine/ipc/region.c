/*
 * The region of a connection: memfd, eventfds, mapping; abi.h has the layout.
 *
 * Called by the thread that owns the llm_ipc_t.  What holds always: nothing
 * of the peer's region is mapped before its seals, its file system, its size
 * and a private copy of its header were verified.  With SHRINK and GROW sealed
 * the mapping cannot fault, and with SEAL that stays so.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include "engine/ipc/region.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define LLM_REGION_TMPFS  0x01021994 /* where a memfd lives */
#define LLM_REGION_SEALS  (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define LLM_REGION_SUB    (1 * LLM_PAGE)
#define LLM_REGION_COMP   (2 * LLM_PAGE)
#define LLM_REGION_STATUS (3 * LLM_PAGE)
#define LLM_REGION_DATA   (4 * LLM_PAGE)


static int llm_region_size_ok(uint64_t size);
static int llm_region_check(int fd, uint64_t size, llm_region_t *region);
static int llm_region_eventfd_check(int fd);
static int llm_region_map(llm_ipc_t *ipc, const llm_region_t *region,
                          int is_worker);


int
llm_region_make(llm_ipc_t *ipc, uint64_t sub_size, uint64_t comp_size)
{
    int          rc;
    unsigned     flags;
    llm_region_t region;

    if (!llm_region_size_ok(sub_size) || !llm_region_size_ok(comp_size)) {
        return -EINVAL;
    }

    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

    ipc->memfd = memfd_create("ngx-llm-ring", flags | MFD_NOEXEC_SEAL);
    if (ipc->memfd == -1 && errno == EINVAL) {
        ipc->memfd = memfd_create("ngx-llm-ring", flags); /* before Linux 6.3 */
    }

    if (ipc->memfd == -1) {
        return -errno;
    }

    memset(&region, 0, sizeof(region));
    region.magic = LLM_ABI_MAGIC;
    region.major = LLM_ABI_MAJOR;
    region.minor = LLM_ABI_MINOR;
    region.region_size = LLM_REGION_DATA + sub_size + comp_size;
    region.sub_off = LLM_REGION_DATA;
    region.sub_size = sub_size;
    region.comp_off = LLM_REGION_DATA + sub_size;
    region.comp_size = comp_size;

    if (ftruncate(ipc->memfd, (off_t) region.region_size) == -1
        || fcntl(ipc->memfd, F_ADD_SEALS, LLM_REGION_SEALS) == -1) {
        return -errno;
    }

    rc = llm_region_map(ipc, &region, 1);
    if (rc != 0) {
        return rc;
    }

    memcpy(ipc->region, &region, sizeof(region));

    ipc->efd_tx = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ipc->efd_tx == -1) {
        return -errno;
    }

    ipc->efd_rx = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ipc->efd_rx == -1) {
        return -errno;
    }

    return 0;
}


int
llm_region_take(llm_ipc_t *ipc, uint64_t region_size, int fds[LLM_REGION_FDS])
{
    llm_region_t region;

    if (llm_region_check(fds[0], region_size, &region) != 0
        || llm_region_eventfd_check(fds[1]) != 0
        || llm_region_eventfd_check(fds[2]) != 0) {
        return -EBADMSG;
    }

    ipc->memfd = fds[0];

    if (llm_region_map(ipc, &region, 0) != 0) {
        ipc->memfd = -1;
        return -EBADMSG;
    }

    ipc->memfd = -1; /* the caller closes fds[0]: the mapping stays */
    ipc->efd_rx = fds[1];
    ipc->efd_tx = fds[2];
    fds[1] = -1;
    fds[2] = -1;

    return 0;
}


static int
llm_region_size_ok(uint64_t size)
{
    return size >= LLM_RING_MIN && size <= LLM_RING_MAX
           && (size & (size - 1)) == 0;
}


/*
 * Engine: is this a region as abi.h says?  0 and a private copy of its header,
 * or -EBADMSG.  Huge pages are refused: a hole punched into them may fault.
 */

static int
llm_region_check(int fd, uint64_t size, llm_region_t *region)
{
    int           seals;
    ssize_t       n;
    struct stat   st;
    struct statfs fs;

    seals = fcntl(fd, F_GET_SEALS);
    if (seals == -1 || (seals & LLM_REGION_SEALS) != LLM_REGION_SEALS) {
        return -EBADMSG;
    }

    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)
        || (uint64_t) st.st_size != size) {
        return -EBADMSG;
    }

    if (fstatfs(fd, &fs) == -1 || fs.f_type != LLM_REGION_TMPFS) {
        return -EBADMSG;
    }

    n = pread(fd, region, sizeof(*region), 0);
    if (n != (ssize_t) sizeof(*region)) {
        return -EBADMSG;
    }

    if (region->magic != LLM_ABI_MAGIC || region->major != LLM_ABI_MAJOR
        || region->region_size != size || !llm_region_size_ok(region->sub_size)
        || !llm_region_size_ok(region->comp_size)) {
        return -EBADMSG;
    }

    /* sizes are at most 1 GiB each: no sum overflows */

    if (region->sub_off != LLM_REGION_DATA
        || region->comp_off != LLM_REGION_DATA + region->sub_size
        || size != region->comp_off + region->comp_size) {
        return -EBADMSG;
    }

    return 0;
}


/*
 * Is this an eventfd that does not block?  Anything else could hold up who
 * rings it.  An anonymous inode has no type of file; of those an eventfd alone
 * takes 8 bytes of zero and gives back no 4 bytes.
 */

static int
llm_region_eventfd_check(int fd)
{
    int         flags;
    uint32_t    half;
    uint64_t    zero;
    struct stat st;

    flags = fcntl(fd, F_GETFL);
    if (flags == -1 || (flags & O_ACCMODE) != O_RDWR
        || (flags & O_NONBLOCK) == 0) {
        return -EBADMSG;
    }

    if (fstat(fd, &st) == -1 || (st.st_mode & S_IFMT) != 0) {
        return -EBADMSG;
    }

    if (read(fd, &half, sizeof(half)) != -1 || errno != EINVAL) {
        return -EBADMSG;
    }

    zero = 0;
    if (write(fd, &zero, sizeof(zero)) != (ssize_t) sizeof(zero)) {
        return -EBADMSG;
    }

    return 0;
}


/* Maps memfd by a header that was verified, and sets up both ends. */

static int
llm_region_map(llm_ipc_t *ipc, const llm_region_t *region, int is_worker)
{
    void           *p;
    uint8_t        *sub, *comp;
    llm_ring_ctl_t *sub_ctl, *comp_ctl;

    p = mmap(NULL, region->region_size, PROT_READ | PROT_WRITE, MAP_SHARED,
             ipc->memfd, 0);
    if (p == MAP_FAILED) {
        return -errno;
    }

    ipc->region = p;
    ipc->region_size = region->region_size;
    ipc->status = (llm_status_t *) (void *) (ipc->region + LLM_REGION_STATUS);

    sub_ctl = (llm_ring_ctl_t *) (void *) (ipc->region + LLM_REGION_SUB);
    comp_ctl = (llm_ring_ctl_t *) (void *) (ipc->region + LLM_REGION_COMP);
    sub = ipc->region + region->sub_off;
    comp = ipc->region + region->comp_off;

    if (is_worker) {
        llm_ring_tx_init(&ipc->tx, sub_ctl, sub, region->sub_size);
        llm_ring_rx_init(&ipc->rx, comp_ctl, comp, region->comp_size);
        ipc->rx.from = LLM_RING_FROM_ENGINE;

    } else {
        llm_ring_tx_init(&ipc->tx, comp_ctl, comp, region->comp_size);
        llm_ring_rx_init(&ipc->rx, sub_ctl, sub, region->sub_size);
        ipc->rx.from = LLM_RING_FROM_WORKER;
    }

    return 0;
}
