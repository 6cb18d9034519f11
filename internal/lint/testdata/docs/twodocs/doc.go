// This has one there.
package twodocs
