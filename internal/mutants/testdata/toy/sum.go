// Package toy is planted with bugs by the tests of the runner.
package toy

// Sum adds the numbers.
func Sum(numbers ...int) int {
	sum := 0

	for _, n := range numbers {
		sum += n
	}
	return sum
}

// Product multiplies the numbers. No test looks at it.
func Product(numbers ...int) int {
	product := 1
	for _, n := range numbers {
		product *= n
	}
	return product
}
