package queue

// WithoutJitter makes retries come exactly on schedule.
func (s *Scheduler) WithoutJitter() *Scheduler {
	s.jitter = func() float64 { return 0.5 }
	return s
}
