package nemesis

import (
	"net"
	"testing"
)

// TestRegisterRefusesTheOvertaken: a holder that has read, and was overtaken, must not write; nor may one whose successor has only read.
func TestRegisterRefusesTheOvertaken(t *testing.T) {
	for _, fenced := range []bool{false, true} {
		registers := newRegisters(fenced)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			registers.serve(l)
		}()
		old, young := register{address: l.Addr().String()}, register{address: l.Addr().String()}
		do := func(r *register, a access) answer {
			t.Helper()
			reply, err := r.do(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			return reply
		}
		add := func(r *register, token uint64, read answer) answer {
			t.Helper()
			return do(r, access{Name: "x", Write: true, Value: read.Value + 1, Floor: token, Token: token})
		}
		first := do(&old, access{Name: "x", Floor: 5, Token: 5})
		second := do(&young, access{Name: "x", Floor: 6, Token: 6})
		late := add(&old, 5, first)
		if late.Stale != fenced {
			t.Errorf("fenced %t: the write of the overtaken holder: %+v", fenced, late)
		}
		if good := add(&young, 6, second); good.Stale || good.Value != 1 {
			t.Errorf("fenced %t: the write of the holder: %+v", fenced, good)
		}
		writes, lost, stale := registers.lost()
		want := [3]int64{2, 1, 0}
		if fenced {
			want = [3]int64{1, 0, 1}
		}
		if got := [3]int64{writes, lost, stale}; got != want {
			t.Errorf("fenced %t: writes, lost and stale are %v, want %v", fenced, got, want)
		}
		old.close()
		young.close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-done
	}
}
