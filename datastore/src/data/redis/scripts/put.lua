-- Puts a value, where the bucket takes its epoch and nothing else stands under its name.
-- KEYS: the bucket, what is known of it. ARGV: name, epoch in 20 digits, lease in ms, value.
local name, epoch, lease, value = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local known = redis.call('HMGET', KEYS[2], 'epoch', 'dropped')
local newest, dropped = known[1] or '', known[2]
if epoch < newest then
  return {dropped and 'dropped' or 'stale', newest}
end
if dropped and epoch == newest then
  return {'dropped', newest}
end
-- The first that may want memory: where there is none, nothing was done yet.
if redis.call('HSETNX', KEYS[1], name, value) == 1 then
  redis.call('HINCRBY', KEYS[2], 'bytes', #value)
elseif redis.call('HGET', KEYS[1], name) ~= value then
  return {'exists', newest}
end
if epoch ~= newest then
  redis.call('HSET', KEYS[2], 'epoch', epoch)
end
if dropped then
  redis.call('HDEL', KEYS[2], 'dropped')
end
local left = {redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[2])}
if left[1] < 0 or left[2] < 0 then
  -- A bucket that is new, or opened anew.
  lease = math.max(lease, left[1], left[2])
  redis.call('PEXPIRE', KEYS[1], lease)
  redis.call('PEXPIRE', KEYS[2], lease)
end
return {'done', newest}
