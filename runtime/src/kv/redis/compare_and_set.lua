-- KEYS: the value. ARGV: '1' and the expected value, or '0' if none is expected; '1' and the new value, or '0' to
-- delete the value. Returns 1 if the value was replaced, or else 0.
local expected = ARGV[1] == '1' and ARGV[2]
if redis.call('GET', KEYS[1]) ~= expected then
    return 0
end
if ARGV[3] == '1' then
    redis.call('SET', KEYS[1], ARGV[4])
else
    redis.call('DEL', KEYS[1])
end
return 1
