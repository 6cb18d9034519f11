package checkpoint

// WithTrace returns options whose store tells of each step on the disk before it takes it.
func (o Options) WithTrace(trace func(step string)) Options {
	o.trace = trace
	return o
}
