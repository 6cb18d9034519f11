package lockd

// RecoverSteps is how many points there are at which a recovery can be made to crash.
const RecoverSteps = int(recoverSteps)

// CrashAfter ends a recovery after a step as the end of its process would.
func (o *RecoverOptions) CrashAfter(step int, err error) {
	o.crash = func(at recoverStep) error {
		if int(at) == step {
			return err
		}
		return nil
	}
}
