;; A ping of one length opens the first door.
;;
;; The contract `postern:rule@0.2.0` at the bottom: a few numbers at fixed places in memory, by the component model's
;; canonical ABI. rules/examples/wat has more of it.
;;
;; Memory, one page:
;;      16  the two watches of the interest
;;      32  the answer of `configure`
;;      72  what is wrong with a setting, as text
;;     160  how settings begin, as the host writes them
;;     176  the answer of `judge`
;;     224  one request to open, all zero: the rule's first door, for the source, as long as the rule's file says
;;    1024  arguments of the call that is running, from here on
(module
  (memory (export "memory") 1)

  ;; watch: transport (2 icmp, 3 icmpv6) at 0, first type at 2, last type at 4; 8 bytes.
  (data (i32.const 16)
    "\02\00\08\00\08\00\00\00"          ;; echo request, RFC 792
    "\03\00\80\00\80\00\00\00")         ;; echo request, RFC 4443: 128

  ;; result<interest, string>: 0 for an interest at 0, the interest at 4.
  (data (i32.const 32)
    "\00\00\00\00"
    "\10\00\00\00" "\02\00\00\00"       ;; watches: two, at 16
    "\00\00\00\00"                      ;; destination: this host
    "\00\00\00\00" "\00\00\00\00"       ;; no prefixes
    "\00\00\00\00"                      ;; no payload
    "\00\00\00\00"                      ;; no TCP header
    "\00\00\00\00")                     ;; nothing is remembered

  (data (i32.const 72) "size: write the one setting, the bytes that `ping -s` sends: 100 to 1400")
  (data (i32.const 160) "{\22size\22:")

  ;; Bytes behind the headers of an echo request.
  (global $size (mut i32) (i32.const 0))

  ;; Where free memory for arguments begins. After a call all of it is free again.
  (global $arena (mut i32) (i32.const 1024))

  ;; The host asks for memory here before a call: old block, its size, alignment, new size. Settings or a knock fit into
  ;; the page; the host refuses what does not. It has no reason to have a block grow.
  (func (export "cabi_realloc")
    (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $start i32)
    (if (local.get $old_size) (then (unreachable)))
    (local.set $start
      (i32.and
        (i32.sub (i32.add (global.get $arena) (local.get $align)) (i32.const 1))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $arena (i32.add (local.get $start) (local.get $size)))
    (local.get $start))

  ;; configure: where the settings are, and their length; the answer is at 32.
  (func (export "configure") (param $settings i32) (param $length i32) (result i32)
    (global.set $arena (i32.const 1024))
    (global.set $size (call $read_size (local.get $settings) (local.get $length)))
    (if (i32.gt_u (i32.sub (global.get $size) (i32.const 100)) (i32.const 1300))
      (then
        ;; 1 for an error at 32, where its text is at 36, its length at 40
        (i32.store8 (i32.const 32) (i32.const 1))
        (i32.store (i32.const 36) (i32.const 72))
        (i32.store (i32.const 40) (i32.const 72))))
    (i32.const 32))

  ;; The number in `{"size":1234}`, which the host writes without blanks; 0 if the settings are anything else.
  (func $read_size (param $at i32) (param $length i32) (result i32)
    (local $i i32)
    (local $digit i32)
    (local $number i32)
    ;; 8 bytes, 3 or 4 digits, `}`
    (if (i32.gt_u (i32.sub (local.get $length) (i32.const 12)) (i32.const 1))
      (then (return (i32.const 0))))
    (if (i64.ne (i64.load align=1 (local.get $at)) (i64.load (i32.const 160)))
      (then (return (i32.const 0))))
    (local.set $i (i32.const 8))
    (loop $next
      (local.set $digit (i32.sub (i32.load8_u (i32.add (local.get $at) (local.get $i))) (i32.const 0x30)))
      (if (i32.gt_u (local.get $digit) (i32.const 9)) (then (return (i32.const 0))))
      (local.set $number (i32.add (i32.mul (local.get $number) (i32.const 10)) (local.get $digit)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.sub (local.get $length) (i32.const 1)))))
    (local.get $number))

  ;; judge: where the knock is; the answer is at 176: which one, and its contents from 184 on.
  ;;   knock: type of the message at 56, transport at 58, length of the packet at 64
  (func (export "judge") (param $knock i32) (result i32)
    (local $headers i32)
    (global.set $arena (i32.const 1024))
    ;; 8 bytes of ICMP behind 20 of IPv4 or 40 of IPv6. A type that the other transport has is no ping.
    (if (i32.eq (i32.load8_u offset=58 (local.get $knock)) (i32.const 2))
      (then
        (if (i32.eq (i32.load16_u offset=56 (local.get $knock)) (i32.const 8))
          (then (local.set $headers (i32.const 28))))))
    (if (i32.eq (i32.load8_u offset=58 (local.get $knock)) (i32.const 3))
      (then
        (if (i32.eq (i32.load16_u offset=56 (local.get $knock)) (i32.const 128))
          (then (local.set $headers (i32.const 48))))))
    (if (i32.and
          (i32.ne (local.get $headers) (i32.const 0))
          (i32.eq
            (i32.load offset=64 (local.get $knock))
            (i32.add (local.get $headers) (global.get $size))))
      (then
        ;; open-verdict: where the requests are at 184, how many at 188; at 192 that nothing is remembered from then on
        (i32.store8 (i32.const 176) (i32.const 3))
        (i32.store (i32.const 184) (i32.const 224))
        (i32.store (i32.const 188) (i32.const 1))
        (i32.store8 (i32.const 192) (i32.const 0))
        (return (i32.const 176))))
    ;; ignore
    (i32.store8 (i32.const 176) (i32.const 0))
    (i32.const 176))
)
