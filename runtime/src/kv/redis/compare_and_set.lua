-- KEYS[1]; ARGV: '1' and the expected value, or '0' for none; '1' and the new value, or '0' for none.
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
