package relay

import "testing"

func TestShare(t *testing.T) {
	want := shares{tables: 990, questions: 256, deliveries: 50, idle: 200, clients: 1000}
	for limit, expected := range map[uint64]shares{
		64:      {4, 4, 2, 2, 5},
		256:     {36, 36, 18, 18, 45},
		1024:    {164, 164, 50, 82, 237},
		4096:    {676, 256, 50, 200, 1000},
		1 << 63: want,
	} {
		got := share(limit, want)
		if got != expected {
			t.Errorf("%d files: %+v, expected %+v", limit, got, expected)
		}
		if sum := filesWithout + got.tables + got.questions + 2*got.deliveries + got.idle + 2*got.clients; uint64(sum) > limit {
			t.Errorf("%d files: %d are given away", limit, sum)
		}
	}
}
