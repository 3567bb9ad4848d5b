-- KEYS: the value, the index. ARGV: the name in the index; the value; '1' if it may replace an existing value.
-- Returns 1 if the value was stored, or 0 if the key already has one.
if ARGV[3] == '1' then
    redis.call('SET', KEYS[1], ARGV[2])
elseif redis.call('SETNX', KEYS[1], ARGV[2]) == 0 then
    return 0
end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
