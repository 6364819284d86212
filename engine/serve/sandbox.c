/*
 * The engine's sandbox: after everything is set up it needs few system calls,
 * and none that opens a file for writing, makes a network socket or runs a
 * program.  All others answer ENOSYS, so that a C library that tries a newer
 * call falls back to an older one.
 *
 * sandbox_enter() holds for all threads of the process, those that are there
 * and those to come, and cannot be undone.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "engine/serve/serve.h"

#if defined(__x86_64__)
#define SANDBOX_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SANDBOX_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef SANDBOX_ARCH

static const int allowed[] = {
    /* rings, connections, the loop */
    SYS_read,
    SYS_write,
    SYS_close,
    SYS_accept4,
    SYS_recvmsg,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_sendto,
    SYS_getsockopt,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_preadv2,
    SYS_pread64,
    SYS_readv,
    SYS_writev,
    SYS_fcntl,
    SYS_ppoll,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
    SYS_poll,
    SYS_unlink,
    SYS_stat,
    SYS_lstat,
#endif
#ifdef SYS_epoll_pwait2
    SYS_epoll_pwait2,
#endif
    SYS_unlinkat,

    /* model files, below --model-root */
    SYS_openat2,
    SYS_fstat,
    SYS_fstatfs,
    SYS_newfstatat,
    SYS_lseek,
    SYS_getdents64,
    SYS_readlinkat,
    SYS_faccessat,
#ifdef SYS_statx
    SYS_statx,
#endif

    /* memory */
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_brk,
    SYS_mlock,
    SYS_munlock,
    SYS_membarrier,

    /* threads */
    SYS_clone,
    SYS_futex,
    SYS_set_robust_list,
    SYS_exit,
    SYS_exit_group,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_setpriority,
    SYS_getpriority,
    SYS_gettid,
    SYS_getpid,
    SYS_getcpu,
    SYS_prctl,
    SYS_prlimit64,
    SYS_sysinfo,
    SYS_uname,
    SYS_tgkill,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
#ifdef SYS_clone3
    SYS_clone3,
#endif
#ifdef SYS_rseq
    SYS_rseq,
#endif

    /* time, chance */
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_getrandom,
#ifdef SYS_time
    SYS_time,
#endif
};

#define SANDBOX_N llm_countof(allowed)


/* 0; or -errno: the kernel has it not, or may not. */

int
sandbox_enter(void)
{
    struct sock_filter f[16 + SANDBOX_N], *p = f;
    struct sock_fprog  prog;
    size_t             i;

    /* Another architecture's numbers, x32 too: none. */
    *p++ = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                         offsetof(struct seccomp_data, arch));
    *p++ = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                         SANDBOX_ARCH, 1, 0);
    *p++ = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K,
                                         SECCOMP_RET_KILL_PROCESS);
    *p++ = (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                         offsetof(struct seccomp_data, nr));

    /* openat() for reading only. */
    *p++ = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat,
                                         0, 4);
    *p++ =
        (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                      offsetof(struct seccomp_data, args[2]));
    *p++ = (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K,
                                         O_WRONLY | O_RDWR | O_CREAT | O_TRUNC,
                                         0, 1);
    *p++ = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K,
                                         SECCOMP_RET_ERRNO | EACCES);
    *p++ = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);

    for (i = 0; i < SANDBOX_N; i++) {
        /* to the ALLOW behind the ENOSYS at the end */
        *p++ =
            (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                          (unsigned) allowed[i],
                                          (unsigned char) (SANDBOX_N - i), 0);
    }

    *p++ = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K,
                                         SECCOMP_RET_ERRNO | ENOSYS);
    *p++ = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);

    prog = (struct sock_fprog){.len = (unsigned short) (p - f), .filter = f};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -errno;
    }

    /* Positive: the id of a thread that could not follow. */
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                   SECCOMP_FILTER_FLAG_TSYNC, &prog)
                   == 0
               ? 0
               : -(errno ? errno : ESRCH);
}

#else

int
sandbox_enter(void)
{
    return -ENOSYS;
}

#endif
