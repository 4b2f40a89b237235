/*
 * wake.so: signals of the recorder as bytes in a pipe.
 *
 * The recorder sleeps in poll() on its listener and on this pipe. SIGCHLD (a tracee stopped), SIGINT
 * and SIGTERM may be taken by any of Node's threads, none of which can run JavaScript in a handler; so
 * the handler writes the signal's number. No libc, async-signal-safe, errno untouched.
 */
static int wake_fd = -1;

__attribute__((visibility("default"))) void winnow_wake_into(int fd) { wake_fd = fd; }

__attribute__((visibility("default"))) void winnow_wake(int signal) {
  unsigned char byte = (unsigned char)signal;
  long result = 1; /* SYS_write */
  __asm__ volatile("syscall"
                   : "+a"(result)
                   : "D"((long)wake_fd), "S"(&byte), "d"(1L)
                   : "rcx", "r11", "memory");
}
