;; A rule that watches UDP port 7100 and computes for as long as ROUNDS say, for every packet; then it ignores it.
(module
    (memory (export "memory") 1)
    (global $arena (mut i32) (i32.const 1024))
    (data (i32.const 16) "\01\00\bc\1b\bc\1b\00\00")
    (data (i32.const 48) "\00\00\00\00\10\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00")
    (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
        (global.set $arena (i32.add (global.get $arena) (i32.and (i32.add (local.get $size) (i32.const 15)) (i32.const -8))))
        (i32.sub (global.get $arena) (i32.and (i32.add (local.get $size) (i32.const 15)) (i32.const -8))))
    (func (export "configure") (param i32 i32) (result i32)
        (i32.const 48))
    (func (export "judge") (param i32) (result i32)
        (local $left i32)
        (global.set $arena (i32.const 1024))
        (local.set $left (i32.const ROUNDS))
        (loop $more
            ;; Through memory, or the compiler would see that nothing comes of it.
            (i32.store (i32.const 200) (local.get $left))
            (local.set $left (i32.sub (i32.load (i32.const 200)) (i32.const 1)))
            (br_if $more (local.get $left)))
        (i32.const 96)))
