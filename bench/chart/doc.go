// Package chart draws line charts as SVG: several panels in one picture, linear or logarithmic axes, a legend in each panel, readable on a
// light and on a dark page. A picture is text without scripts, a few kilobytes long, and the same for the same figures.
//
// Nothing is smoothed: a line goes through the points that were measured. A linear axis upwards begins at zero, so that a small
// difference looks small. Where there are more points than the picture has columns, the least and the greatest of each column are drawn.
package chart
