module github.com/lockd/lockd/tools

go 1.26.0
