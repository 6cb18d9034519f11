package endurance

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"reflect"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

const (
	module  = "github.com/lockd/lockd/"
	inBytes = " in bytes" // ends the name of what is counted so
)

// census is how much there is of everything, by where it is: entries of every map, slice and channel of ours that can be reached, by the field that
// holds them, and goroutines by the function that they run. It asks no code for what it holds, so what nobody thought of counts too.
type census map[string]int

// collector takes a census of what can be reached from some roots. What it walks through must stand still.
type collector struct {
	found census
	bytes census // of the arrays behind slices
	seen  map[place]bool
}

// place is something that is not walked through twice.
type place struct {
	at  unsafe.Pointer
	len int
	of  reflect.Type
}

// count counts everything that can be reached from the roots.
func count(roots ...any) (found, bytes census) {
	c := collector{census{}, census{}, map[place]bool{}}
	for _, r := range roots {
		c.walk(reflect.ValueOf(r), "root")
	}
	return c.found, c.bytes
}

func (c *collector) walk(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && c.first(v.UnsafePointer(), 0, v.Type()) {
			c.walk(v.Elem(), path)
		}
	case reflect.Interface:
		if !v.IsNil() {
			c.walk(v.Elem(), path)
		}
	case reflect.Struct:
		c.fields(v)
	case reflect.Map:
		if v.IsNil() || !c.first(v.UnsafePointer(), 0, v.Type()) {
			return
		}
		c.found[path] += v.Len()
		for it := v.MapRange(); it.Next(); {
			c.walk(it.Key(), path+"[key]")
			c.walk(it.Value(), path+"[]")
		}
	case reflect.Slice:
		if v.Len() == 0 || !c.first(v.UnsafePointer(), v.Len(), v.Type()) {
			return
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			path += inBytes
		}
		c.found[path] += v.Len()
		c.bytes[path] += v.Cap() * int(v.Type().Elem().Size())
		c.elements(v, path)
	case reflect.Array:
		c.elements(v, path)
	case reflect.Chan:
		if !v.IsNil() && c.first(v.UnsafePointer(), 0, v.Type()) {
			c.found[path] += v.Len()
		}
	default: // leads nowhere
	}
}

func (c *collector) elements(v reflect.Value, path string) {
	if !holds(v.Type().Elem()) {
		return
	}
	for i := range v.Len() {
		c.walk(v.Index(i), path+"[]")
	}
}

// fields walks through structs of ours, and of contexts, whose children are registered with them.
func (c *collector) fields(v reflect.Value) {
	t := v.Type()
	switch p := t.PkgPath(); {
	case p == "" || p == "context" || strings.HasPrefix(p, module):
	case p == "sync/atomic" && strings.HasPrefix(t.Name(), "Pointer["):
		c.atomic(v)
		return
	default:
		return
	}
	for i := range v.NumField() {
		c.walk(v.Field(i), strings.TrimPrefix(t.String(), "*")+"."+t.Field(i).Name)
	}
}

// atomic walks to what an atomic.Pointer points at, whose first field is [0]*T.
func (c *collector) atomic(v reflect.Value) {
	of := v.Type().Field(0).Type.Elem()
	if at := v.FieldByName("v").UnsafePointer(); at != nil && c.first(at, 0, of) {
		c.walk(reflect.NewAt(of.Elem(), at).Elem(), v.Type().String())
	}
}

func (c *collector) first(at unsafe.Pointer, n int, of reflect.Type) bool {
	p := place{at, n, of}
	if c.seen[p] {
		return false
	}
	c.seen[p] = true
	return true
}

// holds reports whether a value of a type may lead to others.
func holds(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Map, reflect.Slice, reflect.Chan:
		return true
	case reflect.Array:
		return holds(t.Elem())
	default:
		return false
	}
}

// goroutines counts the goroutines of this process by the first function of ours that they run.
func goroutines(t *testing.T) census {
	t.Helper()
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		t.Fatal(err)
	}
	found, err := byFunction(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// byFunction reads a goroutine profile in its readable form: blocks of "count @ addresses" and a line for each frame, innermost first.
func byFunction(profile string) (census, error) {
	found := census{}
	total := 0
	for block := range strings.SplitSeq(profile, "\n\n") {
		head, frames, _ := strings.Cut(strings.TrimSpace(block), "\n")
		if strings.HasPrefix(head, "goroutine profile:") {
			if _, err := fmt.Sscanf(head, "goroutine profile: total %d", &total); err != nil {
				return nil, fmt.Errorf("%q: %w", head, err)
			}
			head, frames, _ = strings.Cut(frames, "\n")
		}
		number, _, ok := strings.Cut(head, " @")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		name := "of others"
		for line := range strings.Lines(frames) {
			fields := strings.Fields(line)
			if len(fields) > 2 && fields[0] == "#" && strings.HasPrefix(fields[2], module) {
				name, _, _ = strings.Cut(fields[2], "+")
				name = strings.TrimPrefix(name, module)
			}
		}
		found["goroutine "+name] += n
		total -= n
	}
	if total != 0 {
		return nil, fmt.Errorf("%d goroutines of the profile are not counted", total)
	}
	return found, nil
}

// heap returns the bytes that live, after everything else was collected. What pools keep goes with the second collection.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// course is how often something was there, at one census after the other.
type course struct {
	name   string
	values []float64
}

// courses is what was counted over time, by name. It grows by a number for each name and look, so that it is no growth itself.
type courses map[string][]float64

// note adds a census.
func (c courses) note(found census) {
	looks := 0
	for _, values := range c {
		looks = len(values)
		break
	}
	for name := range found {
		if c[name] == nil {
			c[name] = make([]float64, looks)
		}
	}
	for name, values := range c {
		c[name] = append(values, float64(found[name]))
	}
}

// from returns what was counted from one census on.
func (c courses) from(first int) (list []course) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		list = append(list, course{name, c[name][first:]})
	}
	return list
}

// rise returns by how much a line through the values rises from the first to the last: its slope is the median of the slopes between all pairs
// (Theil and Sen), so that no single value decides.
func (c course) rise() float64 {
	var slopes []float64
	for i, a := range c.values {
		for j, b := range c.values[i+1:] {
			slopes = append(slopes, (b-a)/float64(j+1))
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	slices.Sort(slopes)
	return slopes[len(slopes)/2] * float64(len(c.values)-1)
}

func (c course) mean() float64 {
	sum := 0.0
	for _, v := range c.values {
		sum += v
	}
	return sum / math.Max(1, float64(len(c.values)))
}

// Bounds of what is no growth.
const (
	slack        = 8.0      // things
	byteSlack    = 16 << 10 // bytes of a kind
	heapSlack    = 3 << 20  // the entries of a message share its bytes, up to 1 MiB, until the log of each node has dropped the last of them
	fraction     = 0.03     // of the mean
	heapFraction = 0.10
)

// grows reports whether the line through the values rises by more than is by chance, and, of what is counted, the least of the last third is
// above the most of the first: what only swings, as a list that is tidied up now and then, is not taken for growth.
func (c course) grows() bool {
	if c.name == heapName {
		return c.rise() > math.Max(heapSlack, heapFraction*c.mean())
	}
	third := max(1, len(c.values)/3)
	first, last := c.values[:third], c.values[len(c.values)-third:]
	least := slack
	if strings.HasSuffix(c.name, inBytes) {
		least = byteSlack
	}
	return c.rise() > math.Max(least, fraction*c.mean()) && slices.Min(last) > slices.Max(first)
}

// String shows the first values and the last.
func (c course) String() string {
	return fmt.Sprintf("%s: from %.0f to %.0f, least %.0f, most %.0f, rise %.1f",
		c.name, c.values[0], c.values[len(c.values)-1], slices.Min(c.values), slices.Max(c.values), c.rise())
}
