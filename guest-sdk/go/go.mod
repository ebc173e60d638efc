module postern

go 1.24
