-- SPDX-License-Identifier: MIT
return {
  handle = function(ctx)
    local data = ctx.data
    if data.fail then error("asked to fail") end
    if data.spin then while true do end end
    print("called with", data.day or "nothing")
    ctx.log.info("second line")
    return { echo = data, call_id = ctx.call.id, function_id = ctx.call.function_id }
  end,
}
