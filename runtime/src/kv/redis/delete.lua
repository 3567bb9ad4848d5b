-- KEYS: the value, the index. ARGV: the name in the index. Returns 1.
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
