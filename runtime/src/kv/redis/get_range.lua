-- KEYS[1]; ARGV: first and last byte. Nil where there is no value.
if redis.call('EXISTS', KEYS[1]) == 0 then
    return false
end
return redis.call('GETRANGE', KEYS[1], ARGV[1], ARGV[2])
