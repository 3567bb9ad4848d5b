-- KEYS: the value's, the index's; ARGV: the name in the index, the value, '1' if it may replace another.
if ARGV[3] == '1' then
    redis.call('SET', KEYS[1], ARGV[2])
elseif redis.call('SETNX', KEYS[1], ARGV[2]) == 0 then
    return 0
end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
