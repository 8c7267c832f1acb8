package accesslog

import "syscall"

// errFull is what writing to a full disk fails with: the file is still the one.
const errFull = syscall.ENOSPC
