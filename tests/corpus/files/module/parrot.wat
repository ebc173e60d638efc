(module
    (import "postern:rule/host@0.2.0" "log" (func $log (param i32 i32 i32)))
    (memory (export "memory") 2)
    (global $arena (mut i32) (i32.const 65536))
    (global $cleaned (mut i32) (i32.const 0))
    (func (export "_initialize") (i32.store (i32.const 16384) (i32.const 1)))
    (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
        (local $start i32)
        (local.set $start (i32.and
            (i32.sub (i32.add (global.get $arena) (local.get $align)) (i32.const 1))
            (i32.sub (i32.const 0) (local.get $align))))
        (global.set $arena (i32.add (local.get $start) (local.get $size)))
        ;; What the canonical ABI leaves open, such as the rest of an IPv4 address, must not be what was there before.
        (memory.fill (local.get $start) (i32.const 0) (local.get $size))
        (local.get $start))
    (func (export "cabi_post_judge") (param i32)
        (global.set $cleaned (i32.add (global.get $cleaned) (i32.const 1))))
    (func (export "configure") (param $settings i32) (param $length i32) (result i32)
        (local $at i32)
        (block $done (loop $more
            (br_if $done (i32.ge_u (local.get $at) (local.get $length)))
            (i32.store8
                (i32.add (i32.const 4096) (i32.shr_u (local.get $at) (i32.const 1)))
                (i32.add
                    (i32.shl (i32.sub (i32.load8_u (i32.add (local.get $settings) (local.get $at))) (i32.const 97)) (i32.const 4))
                    (i32.sub (i32.load8_u offset=1 (i32.add (local.get $settings) (local.get $at))) (i32.const 97))))
            (local.set $at (i32.add (local.get $at) (i32.const 2)))
            (br $more)))
        (i32.const 4096))
    (func (export "judge") (param $call i32) (result i32)
        (if (i32.load offset=100 (local.get $call)) (then
            (memory.copy (i32.const 8192) (i32.load offset=96 (local.get $call)) (i32.load offset=100 (local.get $call)))
            (global.set $arena (i32.const 65536))
            (return (i32.add (i32.const 8192) (i32.load16_u offset=32 (local.get $call))))))
        ;; remember, and as the stage what `_initialize` left and how often the host cleaned up
        (i64.store (i32.const 16400) (i64.const 1))
        (i32.store (i32.const 16408) (i32.add (i32.load (i32.const 16384)) (i32.shl (global.get $cleaned) (i32.const 8))))
        (i32.store (i32.const 16412) (local.get $call))
        (i32.store (i32.const 16416) (i32.sub (global.get $arena) (local.get $call)))
        (i64.store (i32.const 16424) (i64.load (local.get $call)))
        (global.set $arena (i32.const 65536))
        (call $log (i32.const 1) (i32.const 16408) (i32.const 1))
        (i32.const 16400)))
