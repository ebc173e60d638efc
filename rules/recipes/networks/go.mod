module networks

go 1.24

require postern v0.0.0

replace postern => ../../../guest-sdk/go
