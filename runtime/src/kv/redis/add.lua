-- KEYS[1]; ARGV: 'f' or 'd'; how many bytes the value must have; the numbers to add; then either the byte
-- from which on, or 'at' and an index of 32 bits for each. Gives -2, or -1 where there is no value, or the
-- length of one that is too short.
local key, kind, delta = KEYS[1], ARGV[1], ARGV[3]
local size = kind == 'f' and 4 or 8
if redis.call('EXISTS', key) == 0 then
    return -1
end
local length = redis.call('STRLEN', key)
if length < tonumber(ARGV[2]) then
    return length
end
local one = '<' .. kind
if ARGV[4] == 'at' then
    local count = #delta / size
    for i = 0, count - 1 do
        local at = struct.unpack('<I4', ARGV[5], i * 4 + 1) * size
        local old = struct.unpack(one, redis.call('GETRANGE', key, at, at + size - 1))
        redis.call('SETRANGE', key, at, struct.pack(one, old + struct.unpack(one, delta, i * size + 1)))
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
