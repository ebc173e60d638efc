;; The rule that judges the watchdog's knock: it ignores every knock, and no packet is ever dispatched to it.
;;
;; It speaks the contract `postern:rule@0.2.0` as tests/guests/sequence.wat explains it. Memory, one page:
;;      16  the one watch of the interest
;;      48  the answer of `configure`
;;      96  the answer of `judge`
;;    1024  arguments of the call that is running
(module
  (memory (export "memory") 1 1)

  ;; watch: udp, port 9 (discard). Every rule has to watch something.
  (data (i32.const 16) "\01\00\09\00\09\00\00\00")

  ;; result<interest, string>: an interest of one watch at 16, to this host, no prefixes, no payload, no TCP header, memory format 0.
  (data (i32.const 48)
    "\00\00\00\00" "\10\00\00\00" "\01\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00" "\00\00\00\00"
    "\00\00\00\00")

  (global $arena (mut i32) (i32.const 1024))

  ;; Memory for the arguments of one call, rounded up to the alignment; it does not grow, since the host hands over a few hundred bytes.
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $start i32)
    (local.set $start
      (i32.and
        (i32.sub (i32.add (global.get $arena) (local.get $align)) (i32.const 1))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $arena (i32.add (local.get $start) (local.get $size)))
    (local.get $start))

  (func (export "configure") (param i32 i32) (result i32)
    (global.set $arena (i32.const 1024))
    (i32.const 48))

  ;; The verdict `ignore`, which is 0.
  (func (export "judge") (param i32) (result i32)
    (global.set $arena (i32.const 1024))
    (i32.const 96)))
