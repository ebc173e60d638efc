;; 7000/udp, and within five seconds a SYN at 7001/tcp: the first door opens.
;;
;; The contract `postern:rule@0.2.0` at the bottom: a few numbers at fixed places in memory, by the component model's canonical ABI.
;;
;; Memory, one page:
;;      16  the two watches of the interest
;;      32  the answer of `configure`
;;      72  what is wrong with a setting, as text
;;     104  the answer of `judge`
;;     152  what is remembered of a client: when the first knock came, 8 bytes
;;     160  a line for the log; its number ends at 192
;;     200  one request to open, all zero: the rule's first door, for the source, as long as the rule's file says
;;     264  how settings begin, as the host writes them; the words of the log line at 280
;;    1024  arguments of the call that is running, from here on
(module
  (import "postern:rule/host@0.2.0" "log" (func $log (param $level i32) (param $text i32) (param $length i32)))
  (memory (export "memory") 1)

  ;; watch: transport (0 tcp, 1 udp) at 0, first port at 2, last port at 4, flags to be set at 6 and clear at 7; 8 bytes.
  (data (i32.const 16)
    "\01\00\58\1b\58\1b\00\00"          ;; udp 7000
    "\00\00\59\1b\59\1b\02\10")         ;; tcp 7001, SYN and not ACK

  ;; result<interest, string>: 0 for an interest at 0, the interest at 4.
  (data (i32.const 32)
    "\00\00\00\00"
    "\10\00\00\00" "\02\00\00\00"       ;; watches: two, at 16
    "\00\00\00\00"                      ;; destination: this host
    "\00\00\00\00" "\00\00\00\00"       ;; no prefixes
    "\00\00\00\00"                      ;; no payload
    "\00\00\00\00"                      ;; no TCP header
    "\01\00\00\00")                     ;; memory format 1

  (data (i32.const 72) "within: use \221s\22 to \223600s\22")
  (data (i32.const 264) "{\22within\22:\22")

  ;; Microseconds that a client has between the two.
  (global $within (mut i64) (i64.const 5000000))

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

  ;; configure: where the settings are, and their length; the answer is at 32.
  (func (export "configure") (param $settings i32) (param $length i32) (result i32)
    (local $seconds i32)
    (global.set $arena (i32.const 1024))
    ;; `{}`: nothing is set.
    (if (i32.eq (local.get $length) (i32.const 2)) (then (return (i32.const 32))))
    (local.set $seconds (call $read_seconds (local.get $settings) (local.get $length)))
    (if (i32.gt_u (i32.sub (local.get $seconds) (i32.const 1)) (i32.const 3599))
      (then
        ;; 1 for an error at 32, where its text is at 36, its length at 40
        (i32.store8 (i32.const 32) (i32.const 1))
        (i32.store (i32.const 36) (i32.const 72))
        (i32.store (i32.const 40) (i32.const 27))
        (return (i32.const 32))))
    (global.set $within (i64.mul (i64.extend_i32_u (local.get $seconds)) (i64.const 1000000)))
    (i32.const 32))

  ;; The number in `{"within":"5s"}`, which the host writes without blanks; 0 if the settings are anything else.
  (func $read_seconds (param $at i32) (param $length i32) (result i32)
    (local $i i32)
    (local $digit i32)
    (local $seconds i32)
    ;; 11 bytes, 1 to 4 digits, `s"}`
    (if (i32.gt_u (i32.sub (local.get $length) (i32.const 15)) (i32.const 3)) (then (return (i32.const 0))))
    (loop $next
      (if (i32.ne
            (i32.load8_u (i32.add (local.get $at) (local.get $i)))
            (i32.load8_u offset=264 (local.get $i)))
        (then (return (i32.const 0))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 11))))
    (loop $next
      (local.set $digit
        (i32.sub (i32.load8_u (i32.add (local.get $at) (local.get $i))) (i32.const 0x30)))
      (if (i32.gt_u (local.get $digit) (i32.const 9)) (then (return (i32.const 0))))
      (local.set $seconds (i32.add (i32.mul (local.get $seconds) (i32.const 10)) (local.get $digit)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.sub (local.get $length) (i32.const 3)))))
    ;; `s` and the quote
    (if (result i32)
        (i32.eq (i32.load16_u align=1 (i32.add (local.get $at) (local.get $i))) (i32.const 0x2273))
      (then (local.get $seconds))
      (else (i32.const 0))))

  ;; judge: where the knock is, and behind it, at 104, the memory; the answer is at 104 of our own.
  ;;   knock: time at 0, destination port at 56, transport at 58, TCP flags at 59
  ;;   option<list<u8>>: 1 for some at 104, where it is at 108, its length at 112
  (func (export "judge") (param $call i32) (result i32)
    (local $now i64)
    (local $port i32)
    (local $transport i32)
    (global.set $arena (i32.const 1024))
    (local.set $now (i64.load (local.get $call)))
    (local.set $port (i32.load16_u offset=56 (local.get $call)))
    (local.set $transport (i32.load8_u offset=58 (local.get $call)))

    ;; 7000/udp
    (if (i32.and
          (i32.eq (local.get $port) (i32.const 7000))
          (i32.eq (local.get $transport) (i32.const 1)))
      (then (return (call $remember (local.get $now)))))

    ;; 7001/tcp with SYN and without ACK, while 8 bytes are remembered
    (if (i32.and
          (i32.and
            (i32.eq (local.get $port) (i32.const 7001))
            (i32.eq (local.get $transport) (i32.const 0)))
          (i32.and
            (i32.eq (i32.and (i32.load8_u offset=59 (local.get $call)) (i32.const 0x12)) (i32.const 0x02))
            (i32.and
              (i32.load8_u offset=104 (local.get $call))
              (i32.eq (i32.load offset=112 (local.get $call)) (i32.const 8)))))
      (then
        (call $log_waited (local.get $now) (i64.load align=1 (i32.load offset=108 (local.get $call))))
        (return (call $open))))

    ;; ignore
    (i32.store8 (i32.const 104) (i32.const 0))
    (i32.const 104))

  ;; The verdicts: which one at 104, its contents from 112 on.

  ;; progress: stage at 112, where the memory is at 116, their length at 120, until at 128
  (func $remember (param $now i64) (result i32)
    (i64.store (i32.const 152) (local.get $now))
    (i32.store8 (i32.const 104) (i32.const 1))
    (i32.store (i32.const 112) (i32.const 1))
    (i32.store (i32.const 116) (i32.const 152))
    (i32.store (i32.const 120) (i32.const 8))
    (i64.store (i32.const 128) (i64.add (local.get $now) (global.get $within)))
    (i32.const 104))

  ;; open-verdict: where the requests are at 112, how many at 116; at 120 that nothing is remembered from then on
  (func $open (result i32)
    (i32.store8 (i32.const 104) (i32.const 3))
    (i32.store (i32.const 112) (i32.const 200))
    (i32.store (i32.const 116) (i32.const 1))
    (i32.store8 (i32.const 120) (i32.const 0))
    (i32.const 104))

  ;; Writes "second knock after N ms" to the log. The number's digits are written from the last to the first, and the words before them.
  (data (i32.const 192) " ms")
  (data (i32.const 280) "second knock after ")
  (func $log_waited (param $now i64) (param $first i64)
    (local $ms i64)
    (local $begin i32)
    ;; A packet may carry an earlier time than the one before it.
    (if (i64.gt_u (local.get $now) (local.get $first))
      (then (local.set $ms (i64.div_u (i64.sub (local.get $now) (local.get $first)) (i64.const 1000)))))
    (local.set $begin (i32.const 192))
    (loop $digit
      (local.set $begin (i32.sub (local.get $begin) (i32.const 1)))
      (i64.store8 (local.get $begin) (i64.add (i64.const 0x30) (i64.rem_u (local.get $ms) (i64.const 10))))
      (local.set $ms (i64.div_u (local.get $ms) (i64.const 10)))
      (br_if $digit (i32.and (i64.ne (local.get $ms) (i64.const 0)) (i32.gt_u (local.get $begin) (i32.const 179)))))
    (local.set $begin (i32.sub (local.get $begin) (i32.const 19)))
    (memory.copy (local.get $begin) (i32.const 280) (i32.const 19))
    ;; level 2: info
    (call $log (i32.const 2) (local.get $begin) (i32.sub (i32.const 195) (local.get $begin))))
)
