-- KEYS: the value. ARGV: 'f' or 'd'; the minimum length of the value in bytes; the numbers to add; then either the
-- offset of the first number in bytes, or 'at' and a 32-bit index for each number. Returns -2 on success, -1 if the key
-- has no value, or the length of the value if it is too short.
local key, kind, delta = KEYS[1], ARGV[1], ARGV[3]
local size = kind == 'f' and 4 or 8
if redis.call('EXISTS', key) == 0 then
    return -1
end
local length = redis.call('STRLEN', key)
if length < tonumber(ARGV[2]) then
    return length
end
local single = '<' .. kind
if ARGV[4] == 'at' then
    local count = #delta / size
    for i = 0, count - 1 do
        local at = struct.unpack('<I4', ARGV[5], i * 4 + 1) * size
        local old = struct.unpack(single, redis.call('GETRANGE', key, at, at + size - 1))
        redis.call('SETRANGE', key, at, struct.pack(single, old + struct.unpack(single, delta, i * size + 1)))
    end
elseif #delta > 0 then
    local old = redis.call('GETRANGE', key, ARGV[4], ARGV[4] + #delta - 1)
    local sums, many = {}, '<' .. string.rep(kind, 64)
    local at, last = 1, #delta
    while at <= last do
        local count, format = 64, many
        if last - at + 1 < 64 * size then
            count = (last - at + 1) / size
            format = '<' .. string.rep(kind, count)
        end
        local a, b = { struct.unpack(format, old, at) }, { struct.unpack(format, delta, at) }
        for i = 1, count do
            a[i] = a[i] + b[i]
        end
        sums[#sums + 1] = struct.pack(format, unpack(a, 1, count))
        at = at + count * size
    end
    redis.call('SETRANGE', key, ARGV[4], table.concat(sums))
end
return -2
