// Package twodocs has a comment here.
package twodocs
