package issuer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// workloadCommand returns the command that runs a child with the given executable. The
// race detector would have each sleep for a second at its end.
func workloadCommand(t *testing.T, executable string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(limited(t), executable, append([]string{childArg}, args...)...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// fetchAs runs a child with the given executable and attributes, and returns
// what it got.
func fetchAs(t *testing.T, executable string, attributes *syscall.SysProcAttr, args ...string) string {
	t.Helper()
	cmd := workloadCommand(t, executable, args...)
	cmd.SysProcAttr = attributes
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("run a workload: %v\n%s", err, output)
	}
	return string(output)
}

// mountOverAndExec puts this process's executable over another one, in this
// process's mount namespace, and runs it by that name.
func mountOverAndExec(victim, socket string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(self, victim, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return unix.Exec(victim, []string{victim, childArg, socket}, os.Environ())
}

func TestSelectByUID(t *testing.T) {
	dir := socketDir(t)
	executable(t, dir+"/workload")
	socket := dir + "/agent.sock"
	const foreignUID = 54321
	i := open(t, Config{Socket: socket, Workloads: []Workload{
		{ID: idA, Selectors: Selectors{UID: myUID(), GID: new(uint32(os.Getgid()))}},
		{ID: idB, Selectors: Selectors{UID: new(uint32(foreignUID))}},
	}})
	run(t, i)
	wantIDs(t, fetchAs(t, dir+"/workload", nil, socket), idA)
	if os.Geteuid() != 0 {
		return // idB, which is not ours to be, was withheld from us: that is what a user can see
	}
	as := func(uid, gid uint32) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	}
	wantIDs(t, fetchAs(t, dir+"/workload", as(foreignUID, foreignUID), socket), idB)
	wantRefused(t, fetchAs(t, dir+"/workload", as(foreignUID+1, foreignUID), socket))
	wantRefused(t, fetchAs(t, dir+"/workload", as(0, 12345), socket))
}

func TestSelectByExecutable(t *testing.T) {
	dir := socketDir(t)
	digest := executable(t, dir+"/one")
	if err := os.Link(dir+"/one", dir+"/two"); err != nil { // same content, another name
		t.Fatal(err)
	}
	socket := dir + "/agent.sock"
	i := open(t, Config{Socket: socket, Workloads: []Workload{
		{ID: idA, Selectors: Selectors{UID: myUID(), Path: dir + "/one"}},
		{ID: idB, Selectors: Selectors{Path: dir + "/two", SHA256: strings.ToUpper(digest)}},
	}})
	run(t, i)
	wantIDs(t, fetchAs(t, dir+"/one", nil, socket), idA)
	wantIDs(t, fetchAs(t, dir+"/two", nil, socket), idB)
	if err := i.SetWorkloads([]Workload{
		{ID: idA, Selectors: Selectors{Path: dir + "/one", SHA256: strings.Repeat("00", 32)}},
		{ID: idB, Selectors: Selectors{SHA256: digest}},
	}); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, fetchAs(t, dir+"/one", nil, socket), idB)
}

func TestSelectRefusesReplacedExecutable(t *testing.T) {
	dir := socketDir(t)
	executable(t, dir+"/workload")
	socket := dir + "/agent.sock"
	i := open(t, Config{Socket: socket, Workloads: []Workload{{ID: idA, Selectors: Selectors{Path: dir + "/workload"}}}})
	run(t, i)
	wantIDs(t, fetchAs(t, dir+"/workload", nil, socket), idA)

	cmd := workloadCommand(t, dir+"/workload", socket, "wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	if err := os.Rename(dir+"/workload", dir+"/old"); err != nil {
		t.Fatal(err)
	}
	executable(t, dir+"/workload")
	fmt.Fprintln(in, "go")
	rest, err := io.ReadAll(lines)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, string(rest))
}

// A process can give its executable any name in a mount namespace of its own.
func TestSelectRefusesExecutableOfMountNamespace(t *testing.T) {
	dir := socketDir(t)
	executable(t, dir+"/victim")
	executable(t, dir+"/attacker")
	socket := dir + "/agent.sock"
	i := open(t, Config{Socket: socket, Workloads: []Workload{{ID: idA, Selectors: Selectors{Path: dir + "/victim"}}}})
	run(t, i)
	wantIDs(t, fetchAs(t, dir+"/victim", nil, socket), idA)

	namespace := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		namespace.Cloneflags |= syscall.CLONE_NEWUSER
		namespace.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		namespace.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	cmd := workloadCommand(t, dir+"/attacker", socket, "mount", dir+"/victim")
	cmd.SysProcAttr = namespace
	output, err := cmd.CombinedOutput()
	if os.Geteuid() != 0 && err != nil && !strings.Contains(string(output), "spiffe://") {
		t.Logf("this user cannot make mount namespaces, so cannot attack: %v %s", err, output)
		return
	}
	if err != nil {
		t.Fatalf("run the attacker: %v\n%s", err, output)
	}
	wantRefused(t, string(output))
}

func TestSelectByOwnSocket(t *testing.T) {
	dir := socketDir(t)
	executable(t, dir+"/workload")
	shared, own := dir+"/agent.sock", dir+"/own/agent.sock"
	i := open(t, Config{Socket: shared, Workloads: []Workload{
		{ID: idA, Socket: own, SocketMode: 0o666},
		{ID: idB, Selectors: Selectors{UID: myUID()}},
	}})
	run(t, i)
	wantIDs(t, fetchAs(t, dir+"/workload", nil, own), idA)
	wantIDs(t, fetchAs(t, dir+"/workload", nil, shared), idB)
	if os.Geteuid() == 0 {
		nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
		wantIDs(t, fetchAs(t, dir+"/workload", nobody, own), idA)
	}
}

func TestSocketOfOwnBelongsToItsWorkload(t *testing.T) {
	dir := socketDir(t)
	own := dir + "/own.sock"
	uid := uint32(os.Getuid())
	if uid == 0 {
		uid = 54321
	}
	i := open(t, Config{Workloads: []Workload{{ID: idA, Socket: own, Selectors: Selectors{UID: &uid}}}})
	run(t, i)
	var stat syscall.Stat_t
	if err := syscall.Stat(own, &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Uid != uid || stat.Mode&0o777 != 0o600 {
		t.Errorf("the socket has owner %d and mode %#o, want %d and 0600", stat.Uid, stat.Mode&0o777, uid)
	}
	if uid != uint32(os.Getuid()) {
		executable(t, dir+"/workload")
		owner := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: 54321}}
		wantIDs(t, fetchAs(t, dir+"/workload", owner, own), idA)
		stranger := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid + 1, Gid: 54321}}
		cmd := workloadCommand(t, dir+"/workload", own)
		cmd.SysProcAttr = stranger
		if output, _ := cmd.CombinedOutput(); !strings.Contains(string(output), "permission denied") {
			t.Errorf("a stranger got %q, want permission denied", output)
		}
	}
}

func TestProcessThatIsGoneMatchesNoPath(t *testing.T) {
	cmd := workloadCommand(t, "/proc/self/exe", "unused", "wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The process id is alive and runs the right executable, but it is not the
	// process that the descriptor pins: as after a reuse.
	p := &process{pid: int32(cmd.Process.Pid), pidfd: os.NewFile(uintptr(pidfd), "pidfd"), digests: &digestCache{}}
	defer p.Close()
	if ok, err := p.runs(self); err != nil || !ok {
		t.Fatalf("while it runs: %v, %v", ok, err)
	}
	in.Close()
	_ = cmd.Wait()
	p.pid = int32(os.Getpid())
	if ok, err := p.runs(self); ok || err == nil {
		t.Error("a process that is gone matched")
	}
	if digest, err := p.digest(); err == nil {
		t.Errorf("a process that is gone has the digest %s", digest)
	}
}
