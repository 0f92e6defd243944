package relay

import "testing"

func TestShare(t *testing.T) {
	want := shares{tables: 990, questions: 256, deliveries: 50, clients: 1000}
	for limit, expected := range map[uint64]shares{
		64:      {4, 4, 2, 5},
		256:     {36, 36, 18, 45},
		1024:    {164, 164, 50, 253},
		4096:    {676, 256, 50, 1000},
		1 << 63: want,
	} {
		got := share(limit, want)
		if got != expected {
			t.Errorf("%d files: %+v, expected %+v", limit, got, expected)
		}
		if sum := filesWithout + got.tables + got.questions + 3*got.deliveries + 2*got.clients; uint64(sum) > limit {
			t.Errorf("%d files: %d are given away", limit, sum)
		}
	}
}
