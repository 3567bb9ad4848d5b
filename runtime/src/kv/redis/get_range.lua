-- KEYS: the value. ARGV: the positions of the first and the last byte. Returns nil if the key has no value.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return false
end
return redis.call('GETRANGE', KEYS[1], ARGV[1], ARGV[2])
