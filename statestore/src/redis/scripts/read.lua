-- KEYS: log, feed. ARGV: after, how many at most from the end; 0 for all.
local from = 0
if ARGV[2] ~= '0' then from = -tonumber(ARGV[2]) end
local after, found = tonumber(ARGV[1]), {}
for _, seq in ipairs(redis.call('LRANGE', KEYS[1], from, -1)) do
  if tonumber(seq) > after then
    local entry = redis.call('XRANGE', KEYS[2], seq .. '-0', seq .. '-0')[1]
    -- What has expired stands in the log for a while, and not in the feed.
    if entry then
      found[#found + 1] = seq
      found[#found + 1] = entry[2][6]
    end
  end
end
return found
