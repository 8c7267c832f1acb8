package dial

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	// slowFor is how long an address that failed, or that another one
	// overtook, comes after the others.
	slowFor = 30 * time.Second

	// maxSlow bounds the addresses remembered as slow.
	maxSlow = 1024
)

// Order returns the addresses in the order in which they are to be tried now:
// each time it starts with another one, so that connections are shared out
// evenly, and the families take turns (RFC 8305, section 4). Addresses that
// failed or were overtaken within the last 30 seconds come last.
func (d *Dialer) Order(addresses []string) []string {
	if len(addresses) == 1 {
		return addresses
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.started {
		d.turn, d.started = rand.Uint64N(1<<32), true
	}
	now := time.Now()
	var good, slow []string
	for _, a := range addresses {
		if until, found := d.slow[a]; found && now.Before(until) {
			slow = append(slow, a)
		} else {
			good = append(good, a)
		}
	}
	order := interleave(rotate(good, d.turn))
	order = append(order, interleave(rotate(slow, d.turn))...)
	d.turn++
	return order
}

// delay makes an address come after the others for a while.
func (d *Dialer) delay(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.slow == nil {
		d.slow = make(map[string]time.Time)
	}
	if len(d.slow) >= maxSlow {
		for a, until := range d.slow {
			if now.After(until) {
				delete(d.slow, a)
			}
		}
	}
	if len(d.slow) < maxSlow {
		d.slow[address] = now.Add(slowFor)
	}
}

// rotate returns the list from one element on, and then those before it.
func rotate(list []string, by uint64) []string {
	if len(list) == 0 {
		return nil
	}
	at := int(by % uint64(len(list)))
	return append(append(make([]string, 0, len(list)), list[at:]...), list[:at]...)
}

// interleave lets the families take turns, starting with that of the first; what
// is neither goes with IPv4.
func interleave(list []string) []string {
	var same, other []string
	for _, a := range list {
		if isIPv6(a) == isIPv6(list[0]) {
			same = append(same, a)
		} else {
			other = append(other, a)
		}
	}
	order := list[:0]
	for i := range max(len(same), len(other)) {
		if i < len(same) {
			order = append(order, same[i])
		}
		if i < len(other) {
			order = append(order, other[i])
		}
	}
	return order
}

func isIPv6(address string) bool {
	ap, err := netip.ParseAddrPort(address)
	return err == nil && ap.Addr().Is6() && !ap.Addr().Is4In6()
}
