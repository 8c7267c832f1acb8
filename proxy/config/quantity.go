package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Quantity is a number of bytes, written as a whole number with one of the
// suffixes Ki, Mi, Gi (powers of 1024), k, M, G (powers of 1000), or none.
type Quantity int64

// unit is a suffix of a [Quantity].
type unit struct {
	suffix string
	bytes  int64
}

// units returns the suffixes, longer ones first, so that Mi is not read as M.
func units() []unit {
	return []unit{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}}
}

// ParseQuantity parses the form that [Quantity] describes.
func ParseQuantity(text string) (Quantity, error) {
	number, factor := text, int64(1)
	for _, u := range units() {
		if n, ok := strings.CutSuffix(text, u.suffix); ok {
			number, factor = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/factor {
		return 0, fmt.Errorf("%.80q is no number of bytes such as 65536, 64Ki or 256Mi", text)
	}
	return Quantity(int64(n) * factor), nil
}

// String returns the shortest exact form.
func (q Quantity) String() string {
	for _, u := range units() {
		if q != 0 && int64(q)%u.bytes == 0 {
			return strconv.FormatInt(int64(q)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(q), 10)
}
