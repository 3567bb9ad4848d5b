-- KEYS: the value's, the index's; ARGV: the name in the index.
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
