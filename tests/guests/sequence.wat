;; A fixed sequence: 1111/udp, 2222/udp, 3333/tcp with SYN and without ACK, within five seconds.
;;
;; It says what the stock rule `sequence` says with these settings; its own settings are not looked at. It stands here to show what
;; the contract `postern:rule@0.2.0` is at the bottom: a few numbers at fixed places in memory, by the component model's canonical
;; ABI. It imports nothing: a rule that has nothing to log needs nothing.
;;
;; Memory, one page:
;;      16  the three watches of the interest
;;      48  the answer of `configure`, ready made
;;      96  the answer of `judge`
;;     144  what is remembered of a client: 16 bytes
;;     160  the reason to forget
;;     176  one request to open, all zero: the rule's first door, for the source, as long as the rule's file says
;;    1024  arguments of the call that is running, from here on
(module
  (memory (export "memory") 1)

  ;; watch: transport (0 tcp, 1 udp) at 0, first port at 2, last port at 4, flags to be set at 6 and clear at 7; 8 bytes.
  (data (i32.const 16)
    "\01\00\57\04\57\04\00\00"          ;; udp 1111
    "\01\00\ae\08\ae\08\00\00"          ;; udp 2222
    "\00\00\05\0d\05\0d\02\10")         ;; tcp 3333, SYN and not ACK

  ;; result<interest, string>: 0 for an interest at 0, the interest at 4.
  (data (i32.const 48)
    "\00\00\00\00"
    "\10\00\00\00" "\03\00\00\00"       ;; watches: three, at 16
    "\00\00\00\00"                      ;; destination: this host
    "\00\00\00\00" "\00\00\00\00"       ;; no prefixes
    "\00\00\00\00"                      ;; no payload
    "\00\00\00\00"                      ;; no TCP header
    "\01\00\00\00")                     ;; memory format 1

  (data (i32.const 160) "wrong step")

  ;; Where free memory for arguments begins. After a call all of it is free again.
  (global $arena (mut i32) (i32.const 1024))

  ;; The host asks for memory here before a call: old block, its size, alignment, new size.
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $start i32)
    (local $end i32)
    (local $missing i32)
    ;; start = arena rounded up to the alignment
    (local.set $start
      (i32.and
        (i32.sub (i32.add (global.get $arena) (local.get $align)) (i32.const 1))
        (i32.sub (i32.const 0) (local.get $align))))
    (local.set $end (i32.add (local.get $start) (local.get $size)))
    ;; past the end of all addresses: give up
    (if (i32.lt_u (local.get $end) (local.get $start)) (then (unreachable)))
    ;; missing = pages up to `end` less pages that are there
    (local.set $missing
      (i32.sub
        (i32.add
          (i32.shr_u (local.get $end) (i32.const 16))
          (i32.ne (i32.and (local.get $end) (i32.const 0xffff)) (i32.const 0)))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then (unreachable)))))
    ;; A block that grows moves, with what was in it. (The host has no reason to shrink one.)
    (if (local.get $old_size)
      (then (memory.copy (local.get $start) (local.get $old) (local.get $old_size))))
    (global.set $arena (local.get $end))
    (local.get $start))

  ;; configure: where the settings are, and their length; the answer is at 48.
  (func (export "configure") (param $settings i32) (param $length i32) (result i32)
    (global.set $arena (i32.const 1024))
    (i32.const 48))

  ;; judge: where the knock is, and behind it, at 104, the memory; the answer is at 96.
  ;;   knock: time at 0, destination port at 56, transport at 58, TCP flags at 59
  ;;   option<list<u8>>: 1 for some at 104, where it is at 108, its length at 112
  (func (export "judge") (param $call i32) (result i32)
    (local $now i64)
    (local $start i64)      ;; when the first step came
    (local $stage i64)      ;; right steps so far
    (local $kept i32)
    (local $watch i32)
    (global.set $arena (i32.const 1024))
    (local.set $now (i64.load (local.get $call)))
    (local.set $start (local.get $now))

    ;; A TCP packet without the flags is no step, right or wrong.
    (if (i32.eqz (i32.load8_u offset=58 (local.get $call)))
      (then
        (if (i32.ne (i32.and (i32.load8_u offset=59 (local.get $call)) (i32.const 0x12)) (i32.const 0x02))
          (then (return (call $ignore))))))

    ;; What is remembered counts if it is 16 bytes of ours and still in time: start at 0, stage at 8.
    (if (i32.and
          (i32.load8_u offset=104 (local.get $call))
          (i32.eq (i32.load offset=112 (local.get $call)) (i32.const 16)))
      (then
        (local.set $kept (i32.load offset=108 (local.get $call)))
        (local.set $start (i64.load align=1 (local.get $kept)))
        (local.set $stage (i64.load offset=8 align=1 (local.get $kept)))
        ;; After a clock was set back the time starts now, or it would last too long.
        (if (i64.gt_u (local.get $start) (local.get $now))
          (then (local.set $start (local.get $now))))
        (if (i32.or
              (i64.gt_u (local.get $stage) (i64.const 2))
              (i64.ge_u (i64.sub (local.get $now) (local.get $start)) (i64.const 5000000)))
          (then (local.set $stage (i64.const 0))))
        (if (i64.eqz (local.get $stage))
          (then (local.set $start (local.get $now))))))

    ;; The wrong port, or the right one of the wrong transport?
    (local.set $watch (i32.add (i32.const 16) (i32.shl (i32.wrap_i64 (local.get $stage)) (i32.const 3))))
    (if (i32.or
          (i32.ne (i32.load16_u offset=56 (local.get $call)) (i32.load16_u offset=2 (local.get $watch)))
          (i32.ne (i32.load8_u offset=58 (local.get $call)) (i32.load8_u (local.get $watch))))
      (then
        (if (i64.eqz (local.get $stage)) (then (return (call $ignore))))
        (return (call $forget))))

    (local.set $stage (i64.add (local.get $stage) (i64.const 1)))
    (if (result i32) (i64.eq (local.get $stage) (i64.const 3))
      (then (call $open))
      (else (call $remember (local.get $stage) (local.get $start)))))

  ;; The verdicts: which one at 96, its contents from 104 on.

  (func $ignore (result i32)
    (i32.store8 (i32.const 96) (i32.const 0))
    (i32.const 96))

  ;; progress: stage at 104, where the memory is at 108, their length at 112, until at 120
  (func $remember (param $stage i64) (param $start i64) (result i32)
    (i64.store (i32.const 144) (local.get $start))
    (i64.store (i32.const 152) (local.get $stage))
    (i32.store8 (i32.const 96) (i32.const 1))
    (i64.store32 (i32.const 104) (local.get $stage))
    (i32.store (i32.const 108) (i32.const 144))
    (i32.store (i32.const 112) (i32.const 16))
    (i64.store (i32.const 120) (i64.add (local.get $start) (i64.const 5000000)))
    (i32.const 96))

  ;; reason: where it is at 104, its length at 108
  (func $forget (result i32)
    (i32.store8 (i32.const 96) (i32.const 2))
    (i32.store (i32.const 104) (i32.const 160))
    (i32.store (i32.const 108) (i32.const 10))
    (i32.const 96))

  ;; open-verdict: where the requests are at 104, how many at 108; at 112 that nothing is remembered from then on
  (func $open (result i32)
    (i32.store8 (i32.const 96) (i32.const 3))
    (i32.store (i32.const 104) (i32.const 176))
    (i32.store (i32.const 108) (i32.const 1))
    (i32.store8 (i32.const 112) (i32.const 0))
    (i32.const 96))
)
