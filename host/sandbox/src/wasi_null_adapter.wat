;; wasi_snapshot_preview1 with no authority at all, for languages whose runtime insists on it: no arguments, no
;; environment, no files, no sockets, output to the log, a clock that only
;; counts its readings, and a generator seeded by the host (or by a constant).
;; Touches no memory of its own, so wit-component needs no cabi_realloc from
;; the module. The clock leaves the component for nothing, so it may be read from
;; cabi_realloc (Go's collector does).
(module
  (import "env" "memory" (memory 0))
  (import "postern:runtime/output@0.1.0" "write" (func $write (param i32 i32 i32)))
  (global $clock (mut i64) (i64.const 1000000000))
  (global $seed (mut i64) (i64.const 0x9E3779B97F4A7C15))
  ;; errno: 0 success 8 badf 28 inval 52 nosys 76 notcapable

  (func $zero2 (param $a i32) (param $b i32) (result i32)
    (i32.store (local.get $a) (i32.const 0))
    (i32.store (local.get $b) (i32.const 0))
    (i32.const 0))
  (export "args_sizes_get" (func $zero2))
  (export "environ_sizes_get" (func $zero2))
  (func $none2 (param i32 i32) (result i32) (i32.const 0))
  (export "args_get" (func $none2))
  (export "environ_get" (func $none2))

  (func (export "clock_res_get") (param i32) (param $p i32) (result i32)
    (i64.store (local.get $p) (i64.const 1000)) (i32.const 0))
  ;; never zero (Go: "nanotime returning zero"), always advancing
  (func (export "clock_time_get") (param i32) (param i64) (param $p i32) (result i32)
    (global.set $clock (i64.add (global.get $clock) (i64.const 1000)))
    (i64.store (local.get $p) (global.get $clock))
    (i32.const 0))

  (func (export "random_get") (param $p i32) (param $n i32) (result i32)
    (local $x i64)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $n)))
        ;; splitmix64
        (global.set $seed (i64.add (global.get $seed) (i64.const 0x9E3779B97F4A7C15)))
        (local.set $x (global.get $seed))
        (local.set $x (i64.mul (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 30))) (i64.const 0xBF58476D1CE4E5B9)))
        (local.set $x (i64.mul (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 27))) (i64.const 0x94D049BB133111EB)))
        (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 31))))
        (i32.store8 (local.get $p) (i32.wrap_i64 (local.get $x)))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  (func (export "sched_yield") (result i32) (i32.const 0))
  (func (export "proc_exit") (param i32) unreachable)
  (func (export "proc_raise") (param i32) (result i32) unreachable)

  ;; every subscription is ready at once
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $n i32) (param $nready i32) (result i32)
    (local $i i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
        (memory.fill (local.get $out) (i32.const 0) (i32.const 32))
        (i64.store (local.get $out) (i64.load (local.get $in)))                        ;; userdata
        (i32.store8 offset=10 (local.get $out) (i32.load8_u offset=8 (local.get $in))) ;; type
        (local.set $in (i32.add (local.get $in) (i32.const 48)))
        (local.set $out (i32.add (local.get $out) (i32.const 32)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $nready) (local.get $n))
    (i32.const 0))

  ;; fds 0-2 only: what is written goes to the host, reads are at end of file
  (func (export "fd_write") (param $fd i32) (param $iov i32) (param $n i32) (param $out i32) (result i32)
    (local $sum i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $n)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $iov))))
        (call $write (i32.eq (local.get $fd) (i32.const 2)) (i32.load (local.get $iov)) (i32.load offset=4 (local.get $iov)))
        (local.set $iov (i32.add (local.get $iov) (i32.const 8)))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $out) (local.get $sum))
    (i32.const 0))
  (func (export "fd_read") (param $fd i32) (param i32 i32) (param $out i32) (result i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (i32.store (local.get $out) (i32.const 0))
    (i32.const 0))
  (func (export "fd_fdstat_get") (param $fd i32) (param $p i32) (result i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (memory.fill (local.get $p) (i32.const 0) (i32.const 24))
    (i32.store8 (local.get $p) (i32.const 2)) ;; character device
    (i32.const 0))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_close") (param i32) (result i32) (i32.const 0))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 70)) ;; spipe
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 76))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 76)))
